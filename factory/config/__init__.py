"""What users may set: `registry-config.yaml`, `FACTORY_*` variables, and the profiles of the layers."""
