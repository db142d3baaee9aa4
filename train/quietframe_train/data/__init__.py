"""The kinds of data that recipes train on, one file each. Importing them imports no framework."""
