"""What a person runs: the command line, the policy workbench and the simulator. Nothing here ships to Lambda."""
