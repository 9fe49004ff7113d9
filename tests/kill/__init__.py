"""Kill the server anywhere: the conversation is valid, nothing acknowledged is lost, nothing runs twice.

`points.py` names the places and kills there; `workload.py` keeps agents busy and notes what it was told; `checker.py`
holds what is found afterwards against those notes. `python -m tests.kill` does it at random moments, as often as asked.
"""
