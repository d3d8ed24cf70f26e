"""The data plane: providers, views and the switch that the process's instruments hang on."""
