"""For programs: the REST API, and the named Gradio endpoints that the Python client and assistants call."""
