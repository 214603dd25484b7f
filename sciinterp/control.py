"""The control every finding needs: the same recipe on a model that knows nothing.

The model's weights are drawn anew (:meth:`sciinterp.models.Adapter.randomised`), its activations at the same
site are recorded on the same samples, an SAE of the same architecture is trained with the same settings and
seed, and its codes are returned. A concept that the control finds as well is in the input, not in the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.activations import extract
from sciinterp.codes import encode
from sciinterp.devices import device_of
from sciinterp.errors import InputError, require_kinds
from sciinterp.models import Adapter
from sciinterp.provenance import carried_split, site_of
from sciinterp.sae import SAE, TrainSettings, train
from sciinterp.sae.twins import train_twins
from sciinterp.samples import Samples
from sciinterp.settings import plain_value
from sciinterp.store import ledger

if TYPE_CHECKING:
    from sciinterp.activations import Activations, ExtractSettings
    from sciinterp.codes import FeatureMatrix
    from sciinterp.sae import Architecture
    from sciinterp.samples import Split


def randomised_control(
    model: Adapter,
    sae: SAE,
    samples: Samples,
    *,
    split: Split | None = None,
    out: str | Path,
    seed: int = 0,
    device: str | None = None,
    settings: ExtractSettings | None = None,
) -> FeatureMatrix:
    """Codes of an SAE trained by the same recipe on the model with randomised weights.

    Parameters
    ----------
    model : Adapter
        The model the SAE was trained on; its weights are drawn anew, its tokeniser stays.
    sae : SAE
        Gives the site, the architecture and the training settings.
    samples : Samples
    split : Split, optional
        The split the SAE was trained with; made again when not given.
    out : path
        A folder for ``activations``, ``sae`` and ``features`` of the control. Run again to resume.
    seed : int
        Seed of the random weights; training keeps the seed of the SAE.
    device : str, optional
        Where all of it is computed; where the model is when not given.
    settings : ExtractSettings, optional
        Those that the model's own activations were recorded with.

    Returns
    -------
    FeatureMatrix

    Raises
    ------
    MismatchError
        The SAE is of another model.
    InputError
        The SAE does not say how it was trained (it was not trained here), or there is no such device.

    See Also
    --------
    sciinterp.associate : takes it as ``control=``.
    """
    require_kinds(model=(model, Adapter), sae=(sae, SAE), samples=(samples, Samples), out=(out, Path))
    seed = plain_value(seed, int, "seed")
    place = model.device if device is None else device_of(device)
    _recipe(sae)
    sae.check(model)
    split = carried_split(sae.origin, samples) if split is None else split
    with ledger.recorded("control", out, settings={"seed": seed}):
        acts = extract(
            model.randomised(seed).to(place),
            samples,
            site=site_of(sae),
            out=Path(out) / "activations",
            dtype=str(sae.origin.kept_as or "float32"),
            settings=settings,
        )
        return control_codes(sae, acts, split=split, out=out, device=str(place))


def control_codes(
    sae: SAE, acts: Activations, *, split: Split, out: str | Path, device: str | None = None
) -> FeatureMatrix:
    """The second half of :func:`randomised_control`, where the random model's activations are recorded already.

    The device is that of the SAE's own training when not given.
    """
    out = Path(out)
    architecture, settings = _recipe(sae, device)
    twin = train(acts, architecture, settings=settings, out=out / "sae", split=split)
    return encode(twin, acts, out=out / "features", device=settings.device)


def twin_codes(
    sae: SAE,
    acts: Activations,
    *,
    split: Split,
    out: str | Path,
    frozen: Sequence[str],
    device: str | None = None,
) -> dict[str, FeatureMatrix]:
    """Codes of twins of an SAE (:func:`sciinterp.twins`), by the part that was not trained.

    `acts` and `split` are those it was trained with, `out` is a folder with a folder a twin, each with its
    codes in ``features``; run again to resume. The device is that of the SAE's own training when not given.
    """
    architecture, settings = _recipe(sae, device)
    with ledger.recorded("twins", out, settings={**architecture.as_dict(), **settings.deciding()}):
        found = train_twins(acts, architecture, settings, frozen, split=split, out=out)
        return {
            part: encode(twin, acts, out=Path(out) / part / "features", device=settings.device)
            for part, twin in found.items()
        }


def _recipe(sae: SAE, device: str | None = None) -> tuple[Architecture, TrainSettings]:
    """The architecture and the settings an SAE was trained with."""
    recipe = dict(getattr(sae, "recipe", None) or {})
    if not sae.origin.site or sae.architecture is None or not recipe:
        raise InputError(
            "the SAE does not say how it was trained",
            where=f"SAE {str(sae.folder)!r}" if sae.folder else "sae",
            expected="its site, architecture and training settings",
            do="A control can be made for an SAE that was trained with sciinterp.",
        )
    return sae.architecture, TrainSettings.of({**recipe, **({"device": device} if device else {})})
