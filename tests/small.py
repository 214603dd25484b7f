"""The smallest run that has every file of a run folder: some antibodies, 64 features, 30 steps."""

SMALL = {
    "data": {"samples": "s.fasta", "annotations": "s.annotations.tsv", "table": "s.tsv"},
    "model": {"name": "antiberty", "site": "layers.4"},
    "split": {"by": "family"},
    "sae": {"n_features": 64, "k": 8},
    "train": {"steps": 30, "batch_size": 256},
}
