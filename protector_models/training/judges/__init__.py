"""How the judges of the detoxifier's evaluation are trained, none of them on what the detoxifier learns from alone."""
