"""What the server tells its operator of itself: metrics, spans, and log lines that say whose they are.

The floors above call `watch.py` where a run, a step or a tool call begins and ends, and `metrics.py` for what belongs
to none of these. Nothing here is called for a token.
"""
