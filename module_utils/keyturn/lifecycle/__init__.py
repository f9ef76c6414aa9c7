"""The phases of a rotation on one host: one file for each, in the order plan, stage, prepare, switch, prove, commit, rollback."""
