"""From YAML to objects: what a configuration may name, whether it is valid, building it."""
