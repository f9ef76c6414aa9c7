"""JSON web tokens: signing, and the middleware before all of the API."""

from __future__ import annotations

import logging
import time

from jose import JWTError, jwt
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from trader_ai import environment

logger = logging.getLogger("src.security.auth_middleware")

ALGORITHM = "HS256"
LIFETIME_SECONDS = 60 * 60
PROTECTED_PREFIX = "/api/"
# these, and what is below them
PUBLIC_PATHS = ("/api/health", "/api/v1/health", "/api/auth/login", "/api/auth/register")

# Signing uses the secret of the moment of import, verifying the one of the request: as in the real application.
SIGNING_SECRET = environment.require("JWT_SECRET_KEY")


def make_token(user_id: str) -> str:
    """Return a token for a user, good for 60 minutes."""
    claims = {"sub": user_id, "exp": int(time.time()) + LIFETIME_SECONDS}
    return str(jwt.encode(claims, SIGNING_SECRET, algorithm=ALGORITHM))


class JwtMiddleware(BaseHTTPMiddleware):
    """Lets a request to the API through only with a good bearer token, also to a path that is not there."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Check one request, then hand it on."""
        path = request.url.path
        if not path.startswith(PROTECTED_PREFIX) or any(f"{path}/".startswith(f"{one}/") for one in PUBLIC_PATHS):
            return await call_next(request)
        try:
            _check(request.headers.get("Authorization", ""), path)
        except HTTPException as refusal:
            if environment.get("TRADER_AI_BAD_TOKEN_STATUS") == "401":
                return JSONResponse({"detail": refusal.detail}, refusal.status_code)
            # The real application's bug: above a middleware nobody turns this exception into a 401,
            # so the client sees a 500 and the log a traceback.
            raise
        return await call_next(request)


def _check(header: str, path: str) -> None:
    if not header:
        logger.warning("Missing Authorization header for %s", path)
        raise HTTPException(401, "Missing authorization header")
    if not header.startswith("Bearer "):
        logger.warning("Invalid Authorization header format for %s", path)
        raise HTTPException(401, "Invalid authorization header format. Expected: Bearer <token>")
    try:
        claims = jwt.decode(header[7:], environment.get("JWT_SECRET_KEY"), algorithms=[ALGORITHM])
    except JWTError as error:
        logger.warning("JWT verification failed for %s: %s", path, error)
        raise HTTPException(401, "Could not validate credentials") from error
    if not claims.get("sub"):
        logger.warning("Token missing 'sub' claim for %s", path)
        raise HTTPException(401, "Invalid token: missing user identifier")
