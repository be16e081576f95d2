"""Networks that this project did not write, imported and compared with their own runtimes."""
