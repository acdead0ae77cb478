"""Settings of the verdict cache and of the deployments."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from protector_models.moderation.memory_cache import MAX_BYTES as MEMORY_MAX_BYTES

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(_Section):
    """The verdict cache."""

    url: SecretStr | None = None
    """redis://[[user]:password@]host[:port][/db], or rediss:// for TLS; null: each process remembers for itself."""
    ttl_s: Annotated[int, Field(ge=1)] = 7 * 86_400
    """How long a model output is kept."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 0.25
    """The longest that one call may delay a batch; after it the call counts as a miss."""
    max_connections: Annotated[int, Field(ge=1)] = 16
    """Connections of one process; further calls wait for a free one, within their time."""
    breaker_failures: Annotated[int, Field(ge=1)] = 3
    """Calls in a row that fail before Redis is left alone."""
    breaker_open_s: Seconds = 5.0
    """How long it is left alone, before one call finds out whether it is back."""
    memory_max_entries: Annotated[int, Field(ge=0)] = 100_000
    """Model outputs that a process without Redis keeps in memory."""
    memory_max_bytes: Annotated[int, Field(ge=0)] = MEMORY_MAX_BYTES
    """Bytes of memory that they take at most, their keys among them."""


class DeploymentSettings(_Section):
    """One deployment: how many replicas, what each takes, when there are more of them."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Equal to min_replicas: that many, without autoscaling."""
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    """CPUs that Ray reserves for a replica."""
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Custom resources of Ray that a replica takes, by name."""
    concurrency: Annotated[int, Field(ge=1)] = 1
    """Calls that a replica works on at the same time; each carries a micro-batch."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] | None = None
    """Calls per replica, running and waiting, that autoscaling aims at; null: as many as it works on."""
    upscale_delay_s: Annotated[float, Field(ge=0)] = 10.0
    downscale_delay_s: Annotated[float, Field(ge=0)] = 120.0
    graceful_shutdown_timeout_s: Seconds = 20.0
    """How long a replica may finish what it has accepted; after it the replica is killed."""
    health_check_period_s: Seconds = 10.0
    health_check_timeout_s: Seconds = 30.0

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas: expected at least min_replicas ({self.min_replicas}), got {self.max_replicas}"
            )
        return self

    @property
    def max_ongoing_requests(self) -> int:
        """Calls that a replica accepts: those it works on, and as many that wait so that it never idles."""
        return 2 * self.concurrency


class LightDeploymentSettings(DeploymentSettings):
    """A deployment that computes little: it waits for another server."""

    num_cpus: Annotated[float, Field(ge=0)] = 0.1
    concurrency: Annotated[int, Field(ge=1)] = 8


class DetoxifierDeploymentSettings(DeploymentSettings):
    """The deployment of the detoxifier: it computes for the few responses that are rewritten."""

    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Calls that a replica works on at the same time. Edits are computed one call after the other; what waits for a
    generative model behind an endpoint does not hold them up."""


class StreamDeploymentSettings(DeploymentSettings):
    """The deployment of stream consumers; it scales on records that wait in Kafka, not on calls."""

    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    target_lag_records: Annotated[int, Field(ge=1)] = 5_000
    """Records that may wait per replica before there is one more. There are never more replicas than partitions."""
    graceful_shutdown_timeout_s: Seconds = 40.0
    """Above stream.drain_timeout_s, or results in flight are read again by the next consumer."""


class HttpDeploymentSettings(DeploymentSettings):
    """The deployment of the HTTP front: it translates, and waits for models."""

    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    concurrency: Annotated[int, Field(ge=1)] = 1_000
    """Requests that a replica is handed at the same time. How many it takes in hand is `http.max_concurrent_requests`;
    more are let through to it, so that it refuses them itself, in the form that clients read."""
    graceful_shutdown_timeout_s: Seconds = 70.0
    """Above `http.deadline_s`, or requests in hand are cut off."""


class ModelDeadlines(_Section):
    """How long a model may work at one call, from its turn on; a batch is cut into calls (`calls`).

    The caller waits for as long again for the call's turn; then its batch is tried again.
    """

    connect_s: Seconds = 120.0
    """The first call: replicas may still be starting."""
    assess_s: Seconds = 120.0
    """Above `detector.deadline_s`, where the detector is behind an endpoint."""
    rewrite_s: Seconds = 240.0
    """Above `detoxifier.generator.deadline_s`, where there is a generator."""
    generate_s: Seconds = 240.0
    """Above `mllm.deadline_s`, where there is an MLLM."""
    images_s: Seconds = 200.0
    """Reading one image; above three times `images.time_limit_s`, after which one that does not end is given up."""


class CallSettings(_Section):
    """How a batch is cut into calls, so that several replicas share it."""

    max_characters: Annotated[int, Field(ge=1)] = 64_000
    """Characters of text in one call; a longer item is a call of its own."""
    max_items: Annotated[int, Field(ge=1)] = 64
    max_image_bytes: Annotated[int, Field(ge=1)] = 32 * 1024 * 1024
    """Bytes of images in one call to the MLLM; a larger conversation is a call of its own. What reads images gets one
    with each call."""
    max_concurrent: Annotated[int, Field(ge=1)] = 8
    """Calls of one process that are sent and not answered; the time of a further one begins when it is its turn. Enough
    to keep several replicas busy; with more, long texts would wait out their deadline in the queue."""


class ServeSettings(_Section):
    """The application on Ray Serve."""

    address: str | None = None
    """Of a running Ray cluster, such as "auto"; null starts Ray in this process and on this machine alone."""
    images: DeploymentSettings = Field(default_factory=DeploymentSettings)
    detector: DeploymentSettings = Field(default_factory=DeploymentSettings)
    detoxifier: DetoxifierDeploymentSettings = Field(default_factory=DetoxifierDeploymentSettings)
    mllm: LightDeploymentSettings = Field(default_factory=LightDeploymentSettings)
    stream: StreamDeploymentSettings = Field(default_factory=StreamDeploymentSettings)
    http: HttpDeploymentSettings = Field(default_factory=HttpDeploymentSettings)
    deadlines: ModelDeadlines = Field(default_factory=ModelDeadlines)
    calls: CallSettings = Field(default_factory=CallSettings)
