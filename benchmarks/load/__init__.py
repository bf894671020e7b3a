"""The load generator behind `scripts/load`: puts turns on a cluster through its routers and checks every answer.

Read it in this order: `plan` (what is asked for), `targets` (whom to ask), `schedule` (when each turn is due),
`sessions` (one session's calls), `turn` and `checks` (what is wrong with an answer), `measure` (what becomes of the
answers), `report`, `plot` and `progress` (what is shown), `run` (all of it together), `__main__` (the command line).
"""
