"""The names of all counters, one place for code, dashboards and alerts."""

from typing import Literal, get_args

Metric = Literal[
    # Verdicts, by `action`.
    "weir_verdicts_total",
    # Events that ended without a verdict, by `stage` and `error`.
    "weir_failures_total",
    # Responses that the detector failed on, or was away for, and that the policy let pass or held back all the same, by
    # `action`.
    "weir_failures_decided_by_policy_total",
    # Events that went on without a model that was away, as the policy says, by `dependency` (detector, detoxifier,
    # mllm).
    "weir_failed_open_total",
    # Events that were not moderated since a model was away, by `dependency` (also images), each time it was given up:
    # a batch that is tried again may count again.
    "weir_failed_closed_total",
    # Requests that were judged, by `action` that the rules ask for ("none": the detector failed, and they have none for
    # that), `status` (complete, partial, failed) and `enforced`: whether the MLLM was not asked because of it.
    "weir_prompts_total",
    # Responses that a shadow policy decided on too, by the action that the rules in force ask for (`live`) and the one
    # that the shadow policy asks for (`shadow`; "none": the event would have no verdict under it).
    "weir_shadow_decisions_total",
    # Fields of messages and of their parts that Weir does not know and passed over, and parts that hold what a model
    # only thought.
    "weir_message_fields_ignored_total",
    # Events of tenants that the policy does not name, by `action` (default_rules, refuse).
    "weir_unknown_tenants_total",
    # Policy files that had changed, by `outcome`: loaded, refused (no policy, or one that does not fit the models),
    # unreadable, failed; but for the first the policy before stays in force.
    "weir_policy_reloads_total",
    # Images of conversations, by `status` (read, unread) and `reason`, such as FetchTimeout; empty where one was read.
    "weir_images_total",
    # Rewrites that were released, by `method` (edit, omit, generate, complete).
    "weir_rewrites_total",
    # Tries at a rewrite that were not released, by `method` and `reason`: nothing could be made, or what was made is
    # harmful too.
    "weir_rewrites_refused_total",
    # Texts that the detector lets pass in place of a response and that the second opinion read, by `opinion` (agree,
    # object, none: it could not tell).
    "weir_second_opinions_total",
    # Distinct model outputs found in the cache, by `kind` (image, assessment, rewrite).
    "weir_cache_hits_total",
    # Distinct model outputs not found in the cache, by `kind`.
    "weir_cache_misses_total",
    # Cached bytes that are not what was stored, by `kind`; each is a miss too.
    "weir_cache_foreign_total",
    # Calls to the cache that failed or came too late, by `operation` (get, put) and `error`; a failed get is a miss.
    "weir_cache_errors_total",
    # Records read from the source topic.
    "weir_records_read_total",
    # Records published: `kind` is moderated or dead_letter.
    "weir_records_published_total",
    # Events that were not published, since they had been: only where `stream.deduplicate_event_ids` remembers them.
    "weir_duplicate_events_total",
    # Batches tried again after a transient failure, by `error`.
    "weir_batch_retries_total",
    # Transactions (or commits, at least once), by `result` (committed, aborted).
    "weir_commits_total",
    # How often publishing was stopped since nearly everything became a dead letter, by probes that were no better too.
    "weir_runaway_stops_total",
    # Requests over HTTP, by `route`, `status` (499: the client hung up) and `code` of the error, empty where there is
    # none.
    "weir_http_requests_total",
    # What was to be counted against a rate limit and Redis did not answer in time, by `error`: the replica's own count
    # decided.
    "weir_rate_limit_errors_total",
    # Texts, conversations and events in them, by `route` and `action` that the policy takes, or would take were it not
    # in shadow; "failed" for an event of a batch that has no verdict.
    "weir_http_results_total",
    # Streams of guarded chat, by `route` and `end` (done, client_gone, or the code of the error that was their last
    # event).
    "weir_http_streams_total",
    # Answers over HTTP that were judged without their question, which was not known, by `route`.
    "weir_questions_unknown_total",
    # Records in flight that were given up at a rebalance or when draining took too long; they are read again.
    "weir_records_abandoned_total",
]

METRICS: tuple[str, ...] = get_args(Metric)
"""Every counter's name."""
