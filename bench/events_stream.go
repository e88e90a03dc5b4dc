package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/quickpass/quickpass/internal/devstack"
)

const (
	kafkaPartitions = 4
	streamTimeout   = 5 * time.Minute
	streamLook      = 100 * time.Millisecond
)

// streams are the brokers. Kafka's stand-in speaks its protocol in this process and keeps its records in memory.
type streams struct {
	cluster *kfake.Cluster
	kafka   *kgo.Client
	rabbit  *amqp.Connection
	used    int // topics and queues: each cell has its own
}

func openStreams(ctx context.Context, st *stack) (s *streams, err error) {
	s = &streams{}
	if s.cluster, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
		return nil, fmt.Errorf("kafka's stand-in: %w", err)
	}
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.cluster.ListenAddrs()...)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if st.rabbit, err = devstack.StartRabbitMQ(ctx, devstack.RabbitMQOptions{Dir: st.dir}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	st.stops = append(st.stops, st.rabbit.Stop)
	if s.rabbit, err = amqp.Dial(st.rabbit.URL()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *streams) close() error {
	if s.kafka != nil {
		s.kafka.Close()
	}
	s.cluster.Close()
	if s.rabbit != nil {
		return s.rabbit.Close()
	}
	return nil
}

func (s *streams) name() string {
	s.used++
	return fmt.Sprintf("bench.events.%d", s.used)
}

// kafka fills a topic, then lets a fresh `quickpass ingest` work it off.
func (in *intakes) kafka(ctx context.Context) (result, error) {
	topic := in.streams.name()
	if _, err := kadm.NewClient(in.streams.kafka).CreateTopic(ctx, kafkaPartitions, 1, nil, topic); err != nil {
		return result{}, err
	}
	records := make([]*kgo.Record, in.o.messages)
	for n := range records {
		records[n] = &kgo.Record{Topic: topic, Key: fmt.Append(nil, n), Value: newBatch(fewWindows)}
	}
	if err := in.streams.kafka.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return result{}, err
	}
	return in.ingest(ctx, "kafka", "QUICKPASS_KAFKA_BROKERS="+strings.Join(in.streams.cluster.ListenAddrs(), ","),
		"QUICKPASS_KAFKA_TOPIC="+topic, "QUICKPASS_KAFKA_GROUP="+topic)
}

// rabbit does the same with a durable queue of persistent messages.
func (in *intakes) rabbit(ctx context.Context) (result, error) {
	channel, err := in.streams.rabbit.Channel()
	if err != nil {
		return result{}, err
	}
	defer func() { _ = channel.Close() }()
	queue := in.streams.name()
	// As `quickpass ingest` declares it.
	arguments := amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue + ".dead"}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, arguments); err != nil {
		return result{}, err
	}
	if err := channel.Confirm(false); err != nil {
		return result{}, err
	}
	confirms := make([]*amqp.DeferredConfirmation, in.o.messages)
	for n := range confirms {
		confirms[n], err = channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false,
			amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: newBatch(fewWindows)})
		if err != nil {
			return result{}, err
		}
	}
	for _, confirm := range confirms {
		if taken, err := confirm.WaitContext(ctx); err != nil || !taken {
			return result{}, errors.Join(err, errors.New("RabbitMQ did not take a message"))
		}
	}
	return in.ingest(ctx, "rabbitmq", "QUICKPASS_AMQP_URL="+in.stack.rabbit.URL(), "QUICKPASS_AMQP_QUEUE="+queue)
}

// ingest starts a process that consumes and waits until all events are counted. The rate is that of the
// middle four fifths, so that neither the start of the process nor the last fetch is in it; the cost is of
// all, the start included.
func (in *intakes) ingest(ctx context.Context, source string, env ...string) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	want := in.o.messages * eventBatch
	counted, err := in.counted(ctx)
	if err != nil {
		return r, err
	}
	want += counted
	before, err := in.stack.usage(ctx)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	if err := in.stack.startIngest(ctx, env); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, in.stack.stopIngest(ctx)) }()
	for counted < want {
		if err := pause(ctx, streamLook); err != nil {
			return r, fmt.Errorf("%d of %d events are counted: %w", counted, want, err)
		}
		if counted, err = in.counted(ctx); err != nil {
			return r, err
		}
	}
	after, err := in.stack.usage(ctx)
	if err != nil {
		return r, err
	}
	r.cost = after.per(in.o.messages*eventBatch, before)
	err = in.stack.served.Pool().QueryRow(ctx, `WITH mine AS MATERIALIZED (SELECT e.received_at FROM events e WHERE e.received_at >= $1 AND e.source = $2),
		middle AS (SELECT percentile_disc(0.1) WITHIN GROUP (ORDER BY m.received_at) AS since, percentile_disc(0.9) WITHIN GROUP (ORDER BY m.received_at) AS until FROM mine m)
		SELECT (count(*) / extract(epoch FROM min(middle.until) - min(middle.since)))::float8
		FROM mine m, middle WHERE m.received_at > middle.since AND m.received_at <= middle.until`, begin, source).Scan(&r.perSecond)
	return r, err
}

// counted is the progress of the few windows.
func (in *intakes) counted(ctx context.Context) (progress int, err error) {
	err = in.stack.served.Pool().QueryRow(ctx, "SELECT sum(w.progress)::bigint FROM task_windows w WHERE w.project_id = $1 AND w.user_id >= $2 AND w.user_id < $3 AND w.live",
		project, player, fmt.Sprintf(player+playerForm, fewWindows)).Scan(&progress)
	return progress, err
}

func (st *stack) startIngest(ctx context.Context, env []string) error {
	binary, err := devstack.FindTool("quickpass")
	if err != nil {
		return err
	}
	st.ingest, err = devstack.StartProcess(ctx, devstack.ProcessOptions{
		Name:        "quickpass ingest",
		Path:        binary,
		Args:        []string{"ingest"},
		Dir:         st.dir,
		LogFile:     filepath.Join(st.dir, "ingest.log"),
		Env:         append([]string{"QUICKPASS_DATABASE_URL=" + st.postgres.URL(), "QUICKPASS_TEMPORAL_ADDRESS=" + st.temporal.Address()}, env...),
		StopTimeout: stopTimeout,
	})
	return err
}

func (st *stack) stopIngest(ctx context.Context) error {
	ingest := st.ingest
	st.ingest = nil
	return ingest.Stop(context.WithoutCancel(ctx))
}
