"""The console: see, steer and judge jobs in the browser, on 127.0.0.1.

Pages are rendered here; a small module in the browser replaces parts of them. Everything goes
through `Jobs` and the views over it.
"""
