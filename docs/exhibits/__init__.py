"""The gallery: the result of each command on one scene, in pictures."""
