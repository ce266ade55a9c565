"""How the load of a generated workload is written: a rate and its law, or so many at once."""

from perdure.errors import BadRequest
from perdure.traces.arrivals import CV_MAX, CV_MIN, DIURNAL_SWING, LAWS, Arrivals, Law
from perdure.traces.workload_keys import Kind, Number, Settings, Whole, Word

PROGRAMS_MAX = 1_000_000

ARRIVAL_KEYS: dict[str, Kind] = {
    "rate": Number(1e-6, 1e6),
    "concurrency": Whole(1, PROGRAMS_MAX),
    "arrival": Word((*LAWS, "diurnal")),
    "cv": Number(CV_MIN, CV_MAX),
    "swing": Number(0.0, 0.99),
    "seed": Whole(0, 2**63 - 1),
}


def read_concurrency(settings: Settings, default: int | None) -> int | None:
    """Programs that run at once; None for an open loop."""
    if settings.has("rate") and settings.has("concurrency"):
        raise BadRequest("rate and concurrency are two loads; set one of them", param="workload")
    return settings.whole("concurrency", 1) if settings.has("concurrency") else default


def read_arrivals(settings: Settings, *, open_loop: bool) -> Arrivals:
    """How programs arrive where the load is open."""
    if not open_loop and settings.has("arrival", "cv", "swing"):
        raise BadRequest("a closed loop starts the next when one ends; arrival needs rate", param="workload")
    word = settings.word("arrival", "poisson")
    law: Law = "poisson" if word == "diurnal" else next(law for law in LAWS if law == word)
    if settings.has("cv") and law not in ("gamma", "weibull"):
        raise BadRequest(f"cv is for arrival=gamma and arrival=weibull, not {word}", param="workload")
    swing = settings.number("swing", DIURNAL_SWING if word == "diurnal" else 0.0)
    return Arrivals(law=law, cv=settings.number("cv", 2.0), swing=swing)
