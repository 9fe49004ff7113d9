"""Real parts the tests are built from: servers, models, engines and the official SDKs."""
