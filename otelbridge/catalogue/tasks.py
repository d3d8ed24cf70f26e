"""Tasks and background jobs, the queues they wait in and the workers that run them. No convention covers them."""

from __future__ import annotations

from otelbridge.catalogue.attributes import ERROR_TYPE
from otelbridge.catalogue.buckets import LONG
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_NAME = Attribute("task.name", "Name of the task, chosen by the application.", example="send_invoice")
_QUEUE = Attribute("task.queue.name", "Queue the task came from.", example="billing")
_RESULT = Attribute(
    "task.result",
    "How the run ended.",
    values=("success", "failure", "cancelled", "timeout", "retry", "ignored", "rejected"),
    closed=True,
    example="success",
)
_DEPENDENCY_RESULT = Attribute(
    "task.dependency.result",
    "How waiting for the dependencies ended.",
    values=("resolved", "failed", "timeout"),
    closed=True,
    example="resolved",
)
_POOL = Attribute("task.worker.pool.name", "Pool the worker belongs to.", example="default")
_WORKER_STATE = Attribute(
    "task.worker.state",
    "What the worker does.",
    values=("busy", "idle", "offline"),
    closed=True,
    example="busy",
)

TASK_DURATION = Metric(
    id="T1",
    name="task.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one run of a task or background job.",
    attributes=(_NAME, _QUEUE, _RESULT, ERROR_TYPE),
    buckets=LONG,
    answers=("003-M6", "003-M28", "003-M37", "004-M31"),
)
TASK_ACTIVE = Metric(
    id="T2",
    name="task.active",
    kind=Kind.UP_DOWN_COUNTER,
    unit="{task}",
    brief="Tasks running now.",
    attributes=(_NAME, _QUEUE),
    answers=("003-M6", "003-M28"),
    merge="livesum",
)
TASK_QUEUE_SIZE = Metric(
    id="T3",
    name="task.queue.size",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{task}",
    brief="Tasks waiting in a queue.",
    attributes=(_QUEUE,),
    answers=("003-M5", "003-M28"),
    merge="last",
)
TASK_DEPENDENCY_DURATION = Metric(
    id="T4",
    name="task.dependency.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Time until the dependencies of a task were resolved.",
    attributes=(_NAME, _DEPENDENCY_RESULT),
    buckets=LONG,
    answers=("003-M7",),
)
TASK_WORKER_COUNT = Metric(
    id="T5",
    name="task.worker.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{worker}",
    brief="Workers by state.",
    attributes=(_POOL, _WORKER_STATE),
    answers=("002-M11",),
    merge="last",
)

DOMAIN = Domain(
    "tasks",
    "Tasks and background jobs, their queues and workers.",
    (TASK_DURATION, TASK_ACTIVE, TASK_QUEUE_SIZE, TASK_DEPENDENCY_DURATION, TASK_WORKER_COUNT),
)
