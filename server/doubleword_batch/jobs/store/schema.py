"""The store's tables, as an append-only list of named steps.

A step that has landed is never edited; a change to the tables is a new step at the end. The first
step has the column names of its time; the step "words" renames some of them.
"""

from collections.abc import Callable
from pathlib import Path

from doubleword_batch.atomic_files import rename, sync_folder


def _rename_copies(home: Path) -> None:
    """Name our copies of result files, which were named by `attempt`, after batch runs.

    If the new name is taken, it is a newer copy's, to which the ledger points. If a crash leaves
    copies unrenamed, the next start renames them.
    """
    folders: set[Path] = set()
    for path in (home / "jobs").glob("*/attempt-*.jsonl"):
        renamed = path.with_name(path.name.replace("attempt", "batch-run", 1))
        if not renamed.exists():
            rename(path, renamed)
            folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)


MIGRATIONS: tuple[tuple[str, str | Callable[[Path], None]], ...] = (
    (
        "2026-11-first",
        """
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY,
            name TEXT UNIQUE,              -- NULL while the job is being built
            building TEXT,                 -- then: the token of the folder it is built in
            created_at REAL NOT NULL,
            provider TEXT NOT NULL,        -- profile's name
            base_url TEXT NOT NULL,        -- "local" for the local server, whose port changes
            endpoint TEXT NOT NULL,
            model TEXT NOT NULL,
            fingerprint TEXT NOT NULL,     -- of source, prompt, model, parameters and provider
            spec TEXT NOT NULL,            -- JSON: see build_plan.plan_build
            source TEXT,                   -- what to reopen for the join; NULL for adopted jobs
            source_fingerprint TEXT,
            source_stamp TEXT,             -- sizes and times: equal means no need to hash again
            rows INTEGER,                  -- NULL until an adopted job's input has been read
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            completion_window TEXT,
            cost_usd TEXT                  -- estimate that was accepted when it was submitted
        );
        CREATE INDEX jobs_by_fingerprint ON jobs (fingerprint);

        CREATE TABLE parts (
            id INTEGER PRIMARY KEY,
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            number INTEGER NOT NULL,
            generation INTEGER NOT NULL,   -- 1 for the first run, then one more a retry
            path TEXT,                     -- NULL when the file was uploaded by somebody else
            requests INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            input_file_id TEXT,
            UNIQUE (job, number)
        );

        CREATE TABLE attempts (
            id INTEGER PRIMARY KEY,
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            part INTEGER NOT NULL REFERENCES parts ON DELETE CASCADE,
            batch_id TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            total INTEGER NOT NULL DEFAULT 0,
            completed INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            created_at REAL,
            started_at REAL,
            ended_at REAL,
            expires_at REAL,
            output_file_id TEXT,
            error_file_id TEXT,
            errors TEXT,                   -- the provider's words on the batch as a whole
            sightings INTEGER NOT NULL DEFAULT 0,
            settled INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX attempts_by_job ON attempts (job);

        CREATE TABLE writes (
            id INTEGER PRIMARY KEY,
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            part INTEGER,
            kind TEXT NOT NULL,            -- upload, create, cancel, retry
            key TEXT NOT NULL UNIQUE,      -- fingerprint of the write: the same write, the same key
            before TEXT,                   -- what the remote object looked like, to see a change
            intent_at REAL NOT NULL,
            sent_at REAL,                  -- last moment on its way, by the wall clock
            sent_steady REAL,              -- the same by the monotonic clock
            answered_at REAL,
            remote_id TEXT,
            cost_usd TEXT,                 -- the estimate that counts against the day's cap
            reserved_at REAL
        );
        CREATE INDEX writes_by_job ON writes (job);
        CREATE INDEX writes_by_day ON writes (reserved_at) WHERE cost_usd IS NOT NULL;

        CREATE TABLE cursors (
            attempt INTEGER NOT NULL REFERENCES attempts ON DELETE CASCADE,
            kind TEXT NOT NULL,            -- output, error
            lines INTEGER NOT NULL,        -- lines received: the next skip
            size_bytes INTEGER NOT NULL,   -- committed length of our copy of those that counted
            PRIMARY KEY (attempt, kind)
        ) WITHOUT ROWID;

        CREATE TABLE ledger (
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            row INTEGER NOT NULL,          -- from 1, in source order
            custom_id TEXT NOT NULL,
            part INTEGER NOT NULL,         -- number of the part that holds the request, 0 for none
            outcome TEXT NOT NULL DEFAULT 'pending',
            cause TEXT,
            message TEXT,
            input_tokens INTEGER,
            output_tokens INTEGER,
            attempt INTEGER,               -- whose answer this is
            kind TEXT,                     -- output, error: which file of the attempt
            place INTEGER,                 -- byte offset of the line in our copy
            size_bytes INTEGER,            -- length of the line
            PRIMARY KEY (job, row)
        ) WITHOUT ROWID;

        CREATE TABLE history (             -- outcomes that a later one replaced
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            row INTEGER NOT NULL,
            attempt INTEGER,
            outcome TEXT NOT NULL,
            cause TEXT,
            message TEXT,
            input_tokens INTEGER,          -- paid for all the same
            output_tokens INTEGER,
            kind TEXT,
            place INTEGER,
            size_bytes INTEGER,
            replaced_at REAL NOT NULL
        );
        CREATE INDEX history_by_row ON history (job, row);

        CREATE TABLE foreign_ids (         -- custom_ids of adopted jobs, which are not ours to read
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            custom_id TEXT NOT NULL,
            row INTEGER NOT NULL,
            PRIMARY KEY (job, custom_id)
        ) WITHOUT ROWID;
        """,
    ),
    (
        "2026-11-remembered-calls",
        """
        CREATE TABLE remembered (          -- rows of gathered calls, found by what was asked
            key BLOB NOT NULL,             -- see requests.RequestKeys
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            row INTEGER NOT NULL,
            PRIMARY KEY (key, job, row)
        ) WITHOUT ROWID;
        CREATE INDEX remembered_by_job ON remembered (job);
        """,
    ),
    (
        # Nearly half of what it cost to remember a call; without it, dropping a job reads all of
        # them, which happens only to calls of which nothing was run.
        "2026-11-remembered-by-key-only",
        "DROP INDEX remembered_by_job;",
    ),
    (
        # One word for one thing: a batch of ours is a batch run, a try of one is not.
        "2026-11-words",
        """
        ALTER TABLE attempts RENAME TO batch_runs;
        ALTER TABLE batch_runs RENAME COLUMN settled TO collected;
        DROP INDEX attempts_by_job;
        CREATE INDEX batch_runs_by_job ON batch_runs (job);
        ALTER TABLE parts RENAME COLUMN generation TO retry_round;
        UPDATE parts SET retry_round = retry_round - 1;     -- 0 for the first run
        ALTER TABLE writes RENAME COLUMN sent_steady TO sent_monotonic;
        ALTER TABLE cursors RENAME COLUMN attempt TO batch_run;
        ALTER TABLE ledger RENAME COLUMN attempt TO batch_run;
        ALTER TABLE ledger RENAME COLUMN place TO offset;
        ALTER TABLE history RENAME COLUMN attempt TO batch_run;
        ALTER TABLE history RENAME COLUMN place TO offset;
        """,
    ),
    ("2026-11-names-of-copies", _rename_copies),
    (
        "2026-11-written-files",
        """
        CREATE TABLE written_files (       -- tables and copies outside the state directory
            path TEXT NOT NULL,
            sha256 TEXT NOT NULL,          -- of the content, to see whether somebody changed it
            job INTEGER NOT NULL,
            written_at REAL NOT NULL,
            PRIMARY KEY (path, sha256)
        ) WITHOUT ROWID;
        """,
    ),
    (
        "2026-11-bills",
        """
        CREATE TABLE bills (               -- what the provider says that a batch has cost
            batch_run INTEGER PRIMARY KEY REFERENCES batch_runs ON DELETE CASCADE,
            requests INTEGER NOT NULL,     -- how many the bill is of
            cost_usd TEXT NOT NULL,
            input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            seconds REAL                   -- of one request, on the average
        );
        """,
    ),
    (
        # Rows of the whole source, even if a job is made from its first rows (a pilot).
        "2026-11-source-rows",
        "ALTER TABLE jobs ADD COLUMN source_rows INTEGER;",
    ),
    (
        "2026-11-marks",
        """
        CREATE TABLE marks (               -- what a person thinks of an answer
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            row INTEGER NOT NULL,
            mark TEXT NOT NULL,            -- right, wrong
            marked_at REAL NOT NULL,
            PRIMARY KEY (job, row)
        ) WITHOUT ROWID;
        """,
    ),
    (
        # What the provider read from its cache, and what a batch would have cost without that.
        "2026-11-cached-tokens",
        """
        ALTER TABLE ledger ADD COLUMN cached_tokens INTEGER;
        ALTER TABLE history ADD COLUMN cached_tokens INTEGER;
        ALTER TABLE bills ADD COLUMN list_cost_usd TEXT;
        """,
    ),
    (
        "2026-11-approvals",
        """
        CREATE TABLE approvals (           -- what a person was asked to pay for, and the answer
            id TEXT PRIMARY KEY,           -- made of the job, the writes, their costs, the window
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            call TEXT,                     -- JSON: what runs once it is approved
            approved_writes TEXT NOT NULL, -- JSON: the most that each may cost, by the write's key
            requests INTEGER NOT NULL,
            cost_usd TEXT,                 -- NULL for unknown
            window TEXT NOT NULL,
            asked_at REAL NOT NULL,
            decision TEXT,                 -- NULL while it waits; approved, declined
            decided_at REAL,
            decided_by TEXT,               -- host, console, terminal
            used_at REAL
        ) WITHOUT ROWID;
        CREATE INDEX approvals_by_job ON approvals (job);
        """,
    ),
    (
        "2026-11-end-notices",
        """
        CREATE TABLE end_notices (         -- ends of jobs that a person wants to be told of
            job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
            wanted_at REAL NOT NULL,
            claimed_at REAL                -- by the one process that tells it, before it does
        );
        """,
    ),
    (
        # A cheap model first, and a strong one for the rows that need it, in one job.
        "2026-11-cascades",
        """
        ALTER TABLE parts ADD COLUMN model TEXT;  -- whose answers it asks for; NULL: the job's own
        CREATE TABLE cascades (            -- how far a cascade is; see cascade/rounds.py
            job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
            max_cost_usd TEXT,             -- the cap that was asked for when it was submitted
            sample TEXT,                   -- JSON: the rows that both models answer, and the doubts
            decision TEXT,                 -- JSON: what the sample shows
            rest_sent INTEGER NOT NULL DEFAULT 0  -- the rows that need the strong model are with it
        );
        """,
    ),
    (
        "2026-11-paid-once",
        """
        ALTER TABLE ledger ADD COLUMN shares INTEGER;      -- the row whose request it shares
        ALTER TABLE ledger ADD COLUMN origin INTEGER;      -- of an answer taken from another job
        CREATE INDEX ledger_by_shared ON ledger (job, shares) WHERE shares NOTNULL;
        CREATE TABLE origins (             -- what a job has taken from others when it was built
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            number INTEGER NOT NULL,
            name TEXT NOT NULL,            -- of the job that was answered; it may be gone by now
            answered_at REAL NOT NULL,
            rows INTEGER NOT NULL,
            PRIMARY KEY (job, number)
        ) WITHOUT ROWID;
        """,
    ),
    (
        # A retry may ask for more than the rows' keys say: what answers it answers something else.
        "2026-11-changed-requests",
        "ALTER TABLE parts ADD COLUMN is_changed INTEGER NOT NULL DEFAULT 0;",
    ),
    (
        # A cascade takes earlier answers, of either model.
        "2026-11-cascades-paid-once",
        """
        ALTER TABLE origins ADD COLUMN model TEXT;   -- whose answers they are; NULL: the job's own
        ALTER TABLE history ADD COLUMN origin INTEGER;
        ALTER TABLE cascades ADD COLUMN model TEXT;  -- the strong one
        ALTER TABLE cascades ADD COLUMN requests INTEGER;       -- that may be sent to it, at most,
        ALTER TABLE cascades ADD COLUMN input_tokens INTEGER;   -- and their tokens, estimated
        ALTER TABLE cascades ADD COLUMN output_tokens INTEGER;
        ALTER TABLE cascades ADD COLUMN cancelled_at REAL;  -- NULL once it is told to go on
        CREATE INDEX cascades_by_model ON cascades (model);
        """,
    ),
    (
        # So that a server whose database is away is not taken for one that refuses the key.
        "2026-11-accepted-keys",
        """
        CREATE TABLE accepted_keys (       -- which have worked; see accepted_keys.py
            id INTEGER PRIMARY KEY,
            base_url TEXT NOT NULL,
            salt BLOB NOT NULL,
            mark BLOB NOT NULL,            -- four bytes of a hash: a key is not kept
            accepted_at REAL NOT NULL
        );
        """,
    ),
    (
        # A few requests go first, so that the provider has their common beginnings in its cache.
        "2026-11-first-wave",
        """
        ALTER TABLE parts ADD COLUMN later INTEGER NOT NULL DEFAULT 0;  -- see records.Part
        ALTER TABLE jobs ADD COLUMN metadata TEXT;  -- JSON: the caller's, for what is sent later
        """,
    ),
    (
        # Some servers never report that a cancellation has ended; see models.Batch.
        "2026-11-long-cancellations",
        "ALTER TABLE batch_runs ADD COLUMN still_cancelling INTEGER NOT NULL DEFAULT 0;",
    ),
    (
        # A gateway may refuse what the server behind it has carried out.
        "2026-11-refused-writes",
        "ALTER TABLE writes ADD COLUMN refused_at REAL;",
    ),
    (
        # Lines that the provider counts but has not shown are waited for, for a bounded time.
        "2026-11-short-files",
        "ALTER TABLE batch_runs ADD COLUMN short_since REAL;  -- NULL where no line is lacking",
    ),
    (
        # A call's cap also holds for those parts of its job that are sent later.
        "2026-11-caps-of-calls",
        "ALTER TABLE jobs ADD COLUMN max_cost_usd TEXT;",
    ),
)
