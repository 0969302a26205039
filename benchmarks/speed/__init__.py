"""Speed and memory, as tables of ratios measured side by side in one run.

    python -m benchmarks.speed.training_step --backbone resnet50 --compile none blocks
    python -m benchmarks.speed.data_pipeline
    python -m benchmarks.speed.memory

Each writes its numbers with ``--out FILE.json``.
"""
