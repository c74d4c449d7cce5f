"""The task families that come with the framework, and how one is named: `make_family("dark-room", size=9)`."""
