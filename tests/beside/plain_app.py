"""A FastAPI application that knows nothing of otelbridge."""

from __future__ import annotations

from fastapi import FastAPI

app, inner = FastAPI(), FastAPI()


@app.get("/users/{number}")
@inner.get("/users/{number}")
def _user(number: int) -> int:
    return number


app.mount("/inner", inner)
