"""The schema of the local server's database, as an append-only list of named steps.

A step that has been released is never edited: a change is a new step at the end.
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0001_files",
        """
        CREATE TABLE files (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            purpose TEXT NOT NULL CHECK (purpose IN ('batch', 'batch_output', 'batch_error')),
            filename TEXT NOT NULL,
            bytes INTEGER NOT NULL DEFAULT 0,
            requests INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            batch INTEGER REFERENCES batches (key) ON DELETE CASCADE
        );
        CREATE INDEX files_of_batch ON files (batch, purpose);

        CREATE TABLE lines (
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            line INTEGER NOT NULL,
            custom_id TEXT NOT NULL,
            url TEXT NOT NULL,
            model TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (file, line)
        );

        CREATE TABLE file_models (
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            model TEXT NOT NULL,
            embeddings INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            body_bytes INTEGER NOT NULL,
            PRIMARY KEY (file, model, embeddings)
        );
        """,
    ),
    (
        "0002_batches",
        """
        CREATE TABLE batches (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            endpoint TEXT NOT NULL,
            completion_window TEXT NOT NULL,
            metadata TEXT NOT NULL,
            user_agent TEXT NOT NULL,
            total INTEGER NOT NULL,
            completed INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            prompt_tokens INTEGER NOT NULL DEFAULT 0,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning_tokens INTEGER NOT NULL DEFAULT 0,
            duration_ms REAL NOT NULL DEFAULT 0,
            output_bytes INTEGER NOT NULL DEFAULT 0,
            error_bytes INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            in_progress_at INTEGER,
            finalizing_at INTEGER,
            completed_at INTEGER,
            failed_at INTEGER,
            cancelling_at INTEGER,
            cancelled_at INTEGER,
            deleted_at INTEGER
        );
        CREATE INDEX batches_of_file ON batches (file);
        CREATE INDEX unfinished_batches ON batches (expires_at)
            WHERE completed_at IS NULL AND failed_at IS NULL
              AND cancelling_at IS NULL AND deleted_at IS NULL;

        CREATE TABLE requests (
            key INTEGER PRIMARY KEY,
            batch INTEGER NOT NULL REFERENCES batches (key) ON DELETE CASCADE,
            line INTEGER NOT NULL,
            id BLOB NOT NULL,
            state TEXT NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'in_progress', 'completed', 'failed')),
            attempts INTEGER NOT NULL DEFAULT 0,
            not_before REAL NOT NULL DEFAULT 0,
            owner TEXT
        );
        CREATE UNIQUE INDEX requests_of_batch ON requests (batch, line);
        CREATE INDEX pending_requests ON requests (batch, line) WHERE state = 'pending';
        CREATE INDEX owned_requests ON requests (owner) WHERE owner IS NOT NULL;

        -- seq is the order of completion, and UNIQUE is the promise that a result is stored once.
        CREATE TABLE results (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            request INTEGER NOT NULL UNIQUE REFERENCES requests (key) ON DELETE CASCADE,
            batch INTEGER NOT NULL,
            ok INTEGER NOT NULL,
            status INTEGER,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            content BLOB NOT NULL
        );
        CREATE INDEX results_of_batch ON results (batch, ok, seq);
        """,
    ),
    (
        "0003_owners",
        """
        CREATE TABLE owners (
            id TEXT PRIMARY KEY,
            lease_until REAL NOT NULL
        );
        """,
    ),
    (
        "0004_one_server",
        # requests.owner stays, unused: SQLite before 3.35 drops no column.
        """
        DROP TABLE owners;
        DROP INDEX owned_requests;
        """,
    ),
    (
        "0005_batches_outlive_their_file",
        # A deleted input file stays while a batch needs its lines. A single request (a response)
        # is a batch of one line that no list shows, with a file that was never anybody's.
        """
        ALTER TABLE files ADD COLUMN deleted_at INTEGER;
        ALTER TABLE batches ADD COLUMN is_single INTEGER NOT NULL DEFAULT 0;
        """,
    ),
)
