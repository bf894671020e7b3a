"""The steps of a run (`ctx.step`): what a step is, how its outcome is kept, and how a later attempt gets it again."""
