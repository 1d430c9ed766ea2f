package archive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
)

// querier is a transaction, or a connection without one.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// pool is a database whose transactions parse a statement once per connection and not each time, which took a fifth of a Put.
// There are no more of them than constant strings in this package.
type pool struct {
	*sql.DB
	mu    sync.Mutex
	stmts map[string]*sql.Stmt // nil: met, and not prepared yet
}

func newPool(db *sql.DB) *pool { return &pool{DB: db, stmts: map[string]*sql.Stmt{}} }

// transaction is one of a pool, for one goroutine. It reads the rows of each query to the end before the next one begins.
type transaction struct {
	*sql.Tx
	pool  *pool
	stmts map[string]*sql.Stmt
}

// within runs fn in a transaction, which is committed only where fn succeeds.
func (p *pool) within(ctx context.Context, fn func(tx *transaction) error) error {
	tx, err := p.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(&transaction{tx, p, map[string]*sql.Stmt{}}); err != nil {
		if back := tx.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) {
			return errors.Join(err, back)
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	p.prepare(ctx)
	return nil
}

// prepare prepares what transactions met, now that they have let their connection go. A statement that cannot be prepared is
// none the worse: it is parsed each time.
func (p *pool) prepare(ctx context.Context) {
	var met []string
	p.mu.Lock()
	for query, stmt := range p.stmts {
		if stmt == nil {
			met = append(met, query)
		}
	}
	p.mu.Unlock()
	for _, query := range met {
		// Without the mutex: this waits for a connection, and the transactions that have them all may wait for the mutex.
		stmt, err := p.PrepareContext(ctx, query)
		if err != nil {
			continue
		}
		p.mu.Lock()
		if p.stmts[query] == nil {
			p.stmts[query], stmt = stmt, nil
		}
		p.mu.Unlock()
		if stmt != nil {
			_ = stmt.Close() // another transaction was first
		}
	}
}

// statement is nil where the query does not parse, which it tells when it is run.
func (t *transaction) statement(ctx context.Context, query string) *sql.Stmt {
	if stmt := t.stmts[query]; stmt != nil {
		return stmt
	}
	t.pool.mu.Lock()
	known, met := t.pool.stmts[query]
	if !met {
		t.pool.stmts[query] = nil
	}
	t.pool.mu.Unlock()
	if known != nil {
		t.stmts[query] = t.StmtContext(ctx, known)
	} else if stmt, err := t.PrepareContext(ctx, query); err == nil {
		t.stmts[query] = stmt // ends with the transaction, whose connection may be the only one
	}
	return t.stmts[query]
}

// ExecContext is that of sql.Tx.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

// QueryContext is that of sql.Tx.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of sql.Tx.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// each reads the rows of a query to the end.
func each(ctx context.Context, q querier, scan func(rows *sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// idList is a list of ids as one argument, for json_each: one statement for every number of them.
func idList(ids []int64) (string, error) {
	b, err := json.Marshal(ids)
	return string(b), err
}
