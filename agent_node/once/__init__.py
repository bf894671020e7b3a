"""`ctx.once`: steps that run once in the whole cluster."""
