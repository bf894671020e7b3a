"""Many clients and a cluster that is disturbed all the time: is every accepted turn done once, and told whole?

Read it downward: __main__.py (what a run is), disturbance.py (what is done to the cluster), client.py (one session's
turns), received_events.py (what a client must receive), judge.py (what must hold at the end).
"""
