"""A second bookkeeper, who shares no code with the server and checks after every step."""
