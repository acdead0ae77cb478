"""The moderation core: types, policy, ports and the Moderator. Imports pydantic and the standard library only.

The names below are the surface that holds still: what uses the core from outside this project imports them from here.
Modules may be split and renamed beneath it, and names that are not among them may change. Fakes of the ports are in
`fakes`. Inside the project a name is imported from the module that defines it.
"""

from protector_models.moderation.conversation import ConversationEvent, Exchange, SeenImage, UnreadPart
from protector_models.moderation.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    DependencyError,
    DeviceFailedError,
    DeviceMemoryError,
    EndlessComputationError,
    IncompleteError,
    InvalidEventError,
    LateError,
    ModelUnavailableError,
    RefusedByModelError,
    SuspectBatchError,
    UnansweredError,
    UnforeseenError,
    WeirError,
)
from protector_models.moderation.images import ImageContent, ImageFault, ImageReading
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.messages.message import (
    ImagePart,
    ImageUrl,
    Message,
    TextPart,
    UnreadContent,
    UnreadKind,
)
from protector_models.moderation.model_outputs import (
    UNSPECIFIED,
    Assessment,
    Coverage,
    ItemFailure,
    Rewrite,
    UnreadImage,
)
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.policy.rules import Rule
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import (
    Answer,
    Detoxifier,
    HarmDetector,
    ImageReader,
    ImageSource,
    Metrics,
    Moderates,
    ResponseGenerator,
    RewriteRequest,
    Span,
    VerdictCache,
)
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import (
    Action,
    EvaluationStatus,
    Failure,
    ImageFinding,
    ImageStatus,
    ModeratedConversation,
    Outcome,
    RewriteMethod,
    Verdict,
)
from protector_models.moderation.wire.codec import DecodedEvent, decode, decode_event, encode_moderated
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue, moderate_encoded
from protector_models.moderation.wire.halving import moderate_isolating

__all__ = [
    "UNSPECIFIED",
    "Action",
    "Answer",
    "Assessment",
    "BrokerUnavailableError",
    "ConfigurationError",
    "ConversationEvent",
    "Coverage",
    "DecodedEvent",
    "DependencyError",
    "Detoxifier",
    "DeviceFailedError",
    "DeviceMemoryError",
    "EncodedVerdict",
    "EndlessComputationError",
    "EvaluationStatus",
    "Exchange",
    "FailedValue",
    "Failure",
    "HarmDetector",
    "ImageContent",
    "ImageFault",
    "ImageFinding",
    "ImagePart",
    "ImageReader",
    "ImageReading",
    "ImageRule",
    "ImageSource",
    "ImageStatus",
    "ImageUrl",
    "IncompleteError",
    "InvalidEventError",
    "ItemFailure",
    "LateError",
    "MemoryVerdictCache",
    "Message",
    "Metrics",
    "ModelUnavailableError",
    "ModeratedConversation",
    "Moderates",
    "Moderator",
    "Outcome",
    "Policy",
    "RefusedByModelError",
    "ResponseGenerator",
    "Rewrite",
    "RewriteMethod",
    "RewriteRequest",
    "Rule",
    "SeenImage",
    "Span",
    "Stage",
    "StageStatus",
    "SuspectBatchError",
    "TenantOverrides",
    "TenantRules",
    "TextPart",
    "UnansweredError",
    "UnforeseenError",
    "UnreadContent",
    "UnreadImage",
    "UnreadKind",
    "UnreadPart",
    "Verdict",
    "VerdictCache",
    "WeirError",
    "decode",
    "decode_event",
    "encode_moderated",
    "moderate_encoded",
    "moderate_isolating",
]
