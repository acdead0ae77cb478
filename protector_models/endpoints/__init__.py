"""Chat completions over HTTP: what every model behind an endpoint shares."""
