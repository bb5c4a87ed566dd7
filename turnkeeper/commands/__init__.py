"""The commands of `turnkeeper`, a module for each kind of work; `turnkeeper.cli` lists them."""
