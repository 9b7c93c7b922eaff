"""What every test shares: one torch thread, the real data where it is present, one ingested tiny corpus, one Ray cluster."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("WANDB_MODE", "offline")
