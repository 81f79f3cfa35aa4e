"""How good a result is: scores by pixel, boundary and object, with intervals, and pictures of them."""
