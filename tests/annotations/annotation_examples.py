"""One small valid file a format, and what holds of it: a new format gets one row here and inherits the contract."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pybigtools

from sciinterp.annotations import Annotations
from sciinterp.annotations.formats import FORMATS, parser
from sciinterp.annotations.go import parse_go

FILES = Path(__file__).parent / "files"


def cells() -> bytes:
    """A small AnnData file."""
    obs = pd.DataFrame(
        {"type": pd.Categorical(["B", "T"]), "n": [1.0, 2.0], "ok": [True, False]}, index=["c1", "c2"]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        anndata.AnnData(np.ones((2, 1), np.float32), obs=obs).write_h5ad(path)
        return path.read_bytes()


def big_bed() -> bytes:
    """A small BigBed file."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        path = f"{folder}/x.bb"
        rows = [("c1", 0, 90, "peak\t5\t+"), ("c1", 5, 40, "t\t0\t-")]
        pybigtools.open(path, "w").write({"c1": 100}, iter(rows))
        return Path(path).read_bytes()


# One small valid file a format; every new format gets one here.
VALID: dict[str, bytes] = {
    "tsv": b"sample\tstart\tend\tconcept\tnote\nP1\t0\t9\tsite\t'=x\nP1\t\t\tmembrane\t\n",
    "uniprot-dat": (FILES / "entries.dat").read_bytes(),
    "uniprot-xml": (FILES / "entries.xml").read_bytes(),
    "uniprot-json": (FILES / "entries.json").read_bytes(),
    "uniprot-tsv": (FILES / "entries.tsv").read_bytes(),
    "uniprot-gff": (FILES / "entries.gff").read_bytes(),
    "gff3": b"##gff-version 3\n##sequence-region c1 1 900\nc1\tx\tgene\t1\t90\t.\t+\t.\tID=g1;Name=a%3Bb\n"
    b"c1\tx\texon\t5\t40\t0.5\t-\t0\tParent=g1\n##FASTA\n>c1\nACGT\n",
    "gtf": b'c1\tx\texon\t1\t90\t0.0\t+\t.\tgene_id "g;1"; transcript_id "t1"; level 2;\n#c\n'
    b'c1\tx\tCDS\t5\t40\t.\t-\t2\tgene_id "g1";\n',
    "genbank": (FILES / "entry.gb").read_bytes(),
    "embl": (FILES / "entry.embl").read_bytes(),
    "interpro": (FILES / "matches.tsv").read_bytes(),
    "go": (FILES / "genes.gaf").read_bytes(),
    "obo": (FILES / "terms.obo").read_bytes(),
    "structure": (FILES / "helix.pdb").read_bytes(),
    "mmcif": (FILES / "helix.cif").read_bytes(),
    "airr": (FILES / "chains.airr.tsv").read_bytes(),
    "h5ad": cells(),
    "peaks": b"c1\t0\t90\t.\t5\t+\t182\t5.0\t-1\t50\nc1\t5\t40\tp2\t0\t.\t18.5\t5.0\t-1\t5\n",
    "signal": b"track type=bedGraph name=x\nc1\t0\t90\t0.5\nc1\t90\t95\t2\nc2 7 9 -1\n",
    "bigbed": big_bed(),
    "gmt": b"SET_A\thttp://x\tTP53\tEGFR,1.0\nSET_B\ta description\tEGFR\n",
    "bed": b"track name=x\nc1\t0\t90\tpeak\t5\t+\nc1\t5\t40\tt\t0\t-\t5\t40\t0\t2\t5,7,\t0,20,\nc1 7 7\n",
}


def read_obo(path: Path) -> Annotations:
    return parse_go(FILES / "genes.gaf", ontology=path)


# what else reads files: the ontology beside GO annotations
READERS = {name: parser(name) for name in FORMATS} | {"obo": read_obo, "mmcif": parser("structure")}
READERS["signal"] = partial(READERS["signal"], threshold=0)
# Not text, and not read from a stream.
BINARY = ("h5ad", "bigbed")
# formats whose lines are cells between tabs, as spreadsheets save them
TABULAR = (
    "tsv",
    "uniprot-tsv",
    "uniprot-gff",
    "gff3",
    "gtf",
    "interpro",
    "go",
    "airr",
    "bed",
    "peaks",
    "gmt",
)
COMMENTS = ("#", "!", "track", "browser", ">")
