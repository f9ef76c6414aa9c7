"""What `make release` makes of a commit: a collection, a bill of materials, checksums. Two builds of one commit are the same bytes."""
