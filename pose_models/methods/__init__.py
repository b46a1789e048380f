"""The methods, one folder each; `registry` names them."""
