"""Every error that Perdure raises for its callers, and what each says to do next.

PerdureError
├── BadRequest                 the caller must change what it asked (HTTP 400, exit 2)
│   ├── ContextTooLong         prompt and answer do not fit the model's window
│   ├── BodyTooLarge           the request body is over its limit (413)
│   └── UnknownModel           no engine here runs that model (404)
├── NotAllowed                 the key is missing, wrong or may not do this (401)
├── NotFound                   there is no such run, response or file (404)
├── Conflict                   the same idempotency key came with another body (422)
├── Busy                       a named limit is reached; try again later (429)
├── EngineFailed               the engine broke or cannot start (502)
├── Unavailable                we are starting, draining or cannot reach a server (503)
├── StorageFailed              the disk is full or unwritable; nothing was acted on (507)
├── ModelFileBroken            a model file is missing, damaged or has the wrong hash
├── CatalogBroken              a catalogue file has no unit, source or sense
├── SandboxUnavailable         bubblewrap is missing or refused; we do not run without it
└── Interrupted                a run stopped before its end and can be resumed (exit 75)
"""


class PerdureError(Exception):
    """What went wrong, and in the same sentence or the next what to do about it.

    `status` is the HTTP status that a server answers with, `code` the machine-readable name, and
    `exit_code` what the command line ends with.
    """

    status = 500
    code = "internal_error"
    exit_code = 1

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(PerdureError):
    """The caller must change what it asked. `param` names the field, where one is at fault."""

    status = 400
    code = "invalid_request"
    exit_code = 2


class ContextTooLong(BadRequest):
    """The prompt and the tokens asked for do not fit the model's window."""

    code = "context_length_exceeded"

    def __init__(
        self, *, prompt_tokens: int, max_output_tokens: int, window_tokens: int, remedy: str
    ) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and {max_output_tokens} more were asked for: "
            f"{prompt_tokens + max_output_tokens} in all, but the model's window is {window_tokens}. "
            f"{remedy}",
            param="messages",
        )
        self.prompt_tokens = prompt_tokens
        self.max_output_tokens = max_output_tokens
        self.window_tokens = window_tokens


class BodyTooLarge(BadRequest):
    """The request's body is larger than the server reads."""

    status = 413
    code = "request_too_large"

    def __init__(self, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the request body has {size_bytes} bytes or more; the limit is {limit_bytes}. Send a shorter "
            "conversation"
        )


class UnknownModel(BadRequest):
    """No engine here runs that model; the message lists those that do."""

    status = 404
    code = "model_not_found"


class NotAllowed(PerdureError):
    """The key is missing, wrong, or may not do this."""

    status = 401
    code = "invalid_api_key"


class NotFound(PerdureError):
    """There is no such thing, or it is not yours; the two are not told apart."""

    status = 404
    code = "not_found"
    exit_code = 2


class Conflict(PerdureError):
    """The same idempotency key came with another body, or another process holds what was asked for."""

    status = 422
    code = "idempotency_key_reused"


class Busy(PerdureError):
    """A named limit is reached. `retry_after_s` says when asking again makes sense."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineFailed(PerdureError):
    """The engine broke, or cannot start. What it had generated so far is not an answer."""

    status = 502
    code = "engine_failed"


class Unavailable(PerdureError):
    """We are starting or draining, or the server we need cannot be reached."""

    status = 503
    code = "unavailable"


class StorageFailed(PerdureError):
    """The disk is full or unwritable. Whatever was to be recorded first was not done."""

    status = 507
    code = "storage_failed"


class ModelFileBroken(PerdureError):
    """A model file is missing, damaged, or does not have the hash it must have."""

    code = "model_file_broken"


class CatalogBroken(PerdureError):
    """A catalogue file has a figure without a unit, a source or sense; names file, key and reason."""

    code = "catalog_broken"


class SandboxUnavailable(PerdureError):
    """Bubblewrap is missing or refused. Nothing is ever run unsandboxed instead."""

    code = "sandbox_unavailable"


class Interrupted(PerdureError):
    """A run stopped before its end; nothing is lost, and the message names the command that goes on."""

    code = "interrupted"
    exit_code = 75
