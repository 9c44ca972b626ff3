"""Every name headwater puts on the wire, written once.

`docs/conventions.md` is generated from `ALL` (``make docs``) and a test compares the two. A name that ends in ``<metric>`` is a family:
`Attribute.of` completes it. Namespace and flat scalars: docs/adr/003-attribute-namespace.md.
"""

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA_URL: Final = "urn:headwater:conventions:1.0.0"

Kind = Literal["string", "double", "int", "boolean"]
Side = Literal["span", "link", "outcome"]

_METRIC: Final = "<metric>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute: `name` on the wire, value `kind`, `unit` (UCUM, "" = none), what it says, and what carries it."""

    name: str
    kind: Kind
    unit: str = ""
    brief: str
    side: Side = "span"

    @property
    def prefix(self) -> str:
        """The part before ``<metric>`` of a family; the whole name otherwise."""
        return self.name.removesuffix(_METRIC)

    @property
    def is_family(self) -> bool:
        return self.name.endswith(_METRIC)

    def of(self, metric: str) -> str:
        """The wire name of one member of the family: ``QUALITY.of("snr") == "headwater.quality.snr"``."""
        return self.prefix + metric


PIPELINE_NAME = Attribute(name="headwater.pipeline.name", kind="string", brief="The pipeline this span belongs to.")
PIPELINE_VERSION = Attribute(name="headwater.pipeline.version", kind="string", brief="Version of the pipeline as a whole.")
RUN_ID = Attribute(name="headwater.run.id", kind="string", brief="Business key of one item's way through the pipeline; late outcomes join on it.")
STAGE_NAME = Attribute(name="headwater.stage.name", kind="string", brief="The stage. A span without it is not a stage.")
STAGE_TYPE = Attribute(name="headwater.stage.type", kind="string", brief="model, rule, retrieval, io, human or qc.")
STAGE_VERSION = Attribute(name="headwater.stage.version", kind="string", brief="Version of the stage's code; given, or a digest of the code.")
STAGE_ATTEMPT = Attribute(name="headwater.stage.attempt", kind="int", brief="1 for the first try, 2 for the first retry.")
MODEL_NAME = Attribute(name="headwater.model.name", kind="string", brief="Model the stage ran.")
MODEL_VERSION = Attribute(name="headwater.model.version", kind="string", brief="Version of that model.")
DATA_VERSION = Attribute(name="headwater.data.version", kind="string", brief="Version of the data the model was trained on or looks up.")
CONFIG_DIGEST = Attribute(name="headwater.config.digest", kind="string", brief="Digest of the stage's configuration and code.")
CANARY = Attribute(name="headwater.canary", kind="boolean", brief="A known-answer run; kept out of traffic statistics.")
CONFIDENCE = Attribute(name="headwater.confidence", kind="double", unit="1", brief="The stage's confidence in its own output, 0 to 1.")
CONFIDENCE_KIND = Attribute(
    name="headwater.confidence.kind", kind="string", brief="prob, margin, entropy, logprob, self_report; invalid if the value was dropped."
)
QUALITY = Attribute(
    name="headwater.quality.<metric>", kind="double", brief="A quality figure of undeclared role; the role test decides if it may accuse."
)
OWN = Attribute(name="headwater.own.<metric>", kind="double", brief="Evidence about this stage's own work; may accuse it.")
DIFFICULTY = Attribute(name="headwater.difficulty.<metric>", kind="double", brief="Difficulty of the input; never accuses a stage.")
ROUTE = Attribute(name="headwater.route", kind="string", brief="Named route a run takes through the pipeline.")
OUTCOME = Attribute(name="headwater.outcome", kind="string", brief="ok, degraded, rejected, fallback, skipped, breaker_open, cancelled or abandoned.")
FALLBACK_FROM = Attribute(name="headwater.fallback.from", kind="string", brief="The stage or version this one stood in for.")
INPUT_SIZE = Attribute(name="headwater.input.size", kind="double", brief="Size of the input in the stage's own unit (bytes, tokens, seconds, items).")
OUTPUT_SIZE = Attribute(name="headwater.output.size", kind="double", brief="Size of the output in the stage's own unit.")
BATCH_SIZE = Attribute(name="headwater.batch.size", kind="int", brief="Items in the batch.")
ITEM_INDEX = Attribute(name="headwater.item.index", kind="int", brief="Position of the item in its batch.")
INPUT_DIGEST = Attribute(name="headwater.input.digest", kind="string", brief="Cheap content hash of the input (opt-in).")
OUTPUT_DIGEST = Attribute(name="headwater.output.digest", kind="string", brief="Cheap content hash of the output (opt-in).")
CPU_TIME_NS = Attribute(name="headwater.cpu.time_ns", kind="int", unit="ns", brief="Thread CPU time of the stage.")
MEMORY_RSS_BYTES = Attribute(name="headwater.memory.rss_bytes", kind="int", unit="By", brief="Resident memory of the process (sampled).")
QUEUE_TIME_NS = Attribute(name="headwater.queue.time_ns", kind="int", unit="ns", brief="Time the item waited before the stage.")
FIRST_ITEM_NS = Attribute(name="headwater.first_item_ns", kind="int", unit="ns", brief="Time to the first item of a stream.")
ITEMS = Attribute(name="headwater.items", kind="int", brief="Items a stream produced.")
BLOCKING = Attribute(name="headwater.blocking", kind="boolean", brief="Did the parent wait for this stage?")
FAULT_INJECTED = Attribute(name="headwater.fault.injected", kind="string", brief="Name of a fault injected on purpose.")
BREAKER_STATE = Attribute(name="headwater.breaker.state", kind="string", brief="closed, open, half_open, metrics_only, forced_open or disabled.")
BREAKER_TRIPS = Attribute(name="headwater.breaker.trips", kind="int", brief="How often the breaker tripped in this process, or would have.")
FINAL = Attribute(name="headwater.final", kind="boolean", brief="This span gives the pipeline's answer.")

LINKS_DROPPED = Attribute(name="headwater.links.dropped", kind="int", brief="Links beyond 128 that this span does not carry.")
LINK_KIND = Attribute(name="headwater.link.kind", kind="string", side="link", brief="input, batch_item, outcome or retry_of.")

OUTCOME_NAME = Attribute(name="headwater.outcome.name", kind="string", side="outcome", brief="Which outcome this is; default loss.")
OUTCOME_LOSS = Attribute(
    name="headwater.outcome.loss", kind="double", side="outcome", brief="Loss of the final result: 0 right, 1 wrong, or any real loss."
)
OUTCOME_LABEL = Attribute(name="headwater.outcome.label", kind="string", side="outcome", brief="The label in words.")
OUTCOME_SOURCE = Attribute(name="headwater.outcome.source", kind="string", side="outcome", brief="Who or what judged it.")
OUTCOME_AUDIT = Attribute(name="headwater.outcome.audit", kind="boolean", side="outcome", brief="Labelled because it was drawn at random for audit.")
# The run's own id stands on the outcome span too (RUN_ID); the three below let other OpenInference readers see the same judgement.
ANNOTATION_NAME = Attribute(name="annotations.0.annotation.name", kind="string", side="outcome", brief="OpenInference copy of the outcome's name.")
ANNOTATION_SCORE = Attribute(
    name="annotations.0.annotation.score", kind="double", side="outcome", brief="OpenInference copy: 1 − loss for losses in 0..1."
)
ANNOTATION_LABEL = Attribute(name="annotations.0.annotation.label", kind="string", side="outcome", brief="OpenInference copy of the label.")

# Stable OpenTelemetry names that headwater writes or reads as they are.
CODE_FUNCTION_NAME = Attribute(name="code.function.name", kind="string", brief="Qualified name of the wrapped function.")
CODE_FILE_PATH = Attribute(name="code.file.path", kind="string", brief="File of the wrapped function.")
CODE_LINE_NUMBER = Attribute(name="code.line.number", kind="int", brief="Line of the wrapped function.")
ERROR_TYPE = Attribute(name="error.type", kind="string", brief="Class of the exception that ended the stage.")
SERVICE_NAME = Attribute(name="service.name", kind="string", brief="Resource attribute; names the pipeline where none is named.")
SESSION_ID = Attribute(name="session.id", kind="string", brief="Cluster of runs: folds and intervals go by it.")
FEATURE_FLAG_KEY = Attribute(name="feature_flag.key", kind="string", brief="A model rollout is a flag evaluation.")
FEATURE_FLAG_VARIANT = Attribute(name="feature_flag.result.variant", kind="string", brief="The variant that was served.")

OUTCOME_SPAN_NAME: Final = "headwater.outcome"
DEFAULT_OUTCOME: Final = "loss"
LINK_KINDS: Final = ("unspecified", "input", "batch_item", "outcome", "retry_of")
# What decoding found wrong with a span; numeric span columns, 1 where it happened. CUT also stands on the stored span itself.
DEFECT_SKEWED: Final = "headwater.defect.skewed"
DEFECT_CUT: Final = "headwater.defect.cut"
OUTCOMES: Final = ("ok", "degraded", "rejected", "fallback", "skipped", "breaker_open", "cancelled", "abandoned")

ALL: Final[tuple[Attribute, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Attribute))
