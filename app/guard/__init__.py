"""What stands between the network and the app: bytes, seconds, connections, headers, logs. No gradio here."""
