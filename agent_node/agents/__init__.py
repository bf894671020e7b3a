"""The agents that come with a node: `echo` for load and for trying out, `assistant` that remembers and calculates."""
