"""A Flower app on dsa-edge: `client.py` runs on devices, `server.py` at their organisation."""
