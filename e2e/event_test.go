package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/shopspring/decimal"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/testkit"
)

const eventTopic = "quickpass.events"

// door is one way for events to get in. Deliver returns when they were counted or, in front of a broker, when
// it has them.
type door struct {
	name    string
	largest int // events in a message
	deliver func(ctx context.Context, form int, piece []action) error
}

// pour delivers the actions in pieces, several at the same time.
func (d door) pour(ctx context.Context, random *mathrand.Rand, actions []action) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for form, piece := range batches(random, actions, d.largest) {
		group.Go(func() error {
			if err := d.deliver(ctx, form, piece); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// post sends events until they are taken. The headers are made anew for each try.
func (n *node) post(ctx context.Context, path string, form int, piece []action, header func(body []byte) (http.Header, error)) error {
	contentType, body, err := encode(form, piece)
	if err != nil {
		return err
	}
	return persist(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if request.Header, err = header(body); err != nil {
			return err
		}
		request.Header.Set("Content-Type", contentType)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != http.StatusAccepted || !bytes.Contains(answer, []byte(`"rejected":[]`))) {
			err = fmt.Errorf("%s %s", response.Status, answer)
		}
		return err
	})
}

func (n *node) restDoor() door {
	return door{"REST", 300, func(ctx context.Context, form int, piece []action) error {
		return n.post(ctx, "/api/v1/events", form, piece, func([]byte) (http.Header, error) {
			return http.Header{"Authorization": {"Bearer " + n.keys["main_product"]}}, nil
		})
	}}
}

func webhookSecret() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(secret)
}

func (n *node) webhookDoor(secret string) door {
	signer, err := standardwebhooks.NewWebhook(secret)
	require.NoError(n.t, err)
	return door{"webhook", 100, func(ctx context.Context, form int, piece []action) error {
		id := "msg_" + piece[0].id
		return n.post(ctx, "/api/v1/hooks/events", form, piece, func(body []byte) (http.Header, error) {
			now := time.Now()
			signature, err := signer.Sign(id, now, body)
			return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {fmt.Sprint(now.Unix())}, "Webhook-Signature": {signature}}, err
		})
	}}
}

// kafka is a broker in this process, and a producer.
type kafka struct {
	*kgo.Client
	cluster *kfake.Cluster
}

func newKafka(t *testing.T) kafka {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, eventTopic), kfake.DefaultNumPartitions(2))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return kafka{client, cluster}
}

func (k kafka) env() string {
	return "QUICKPASS_KAFKA_BROKERS=" + strings.Join(k.cluster.ListenAddrs(), ",")
}

func (k kafka) door() door {
	return door{"Kafka", 20, func(ctx context.Context, form int, piece []action) error {
		contentType, body, err := encode(form, piece)
		if err != nil {
			return err
		}
		record := &kgo.Record{
			Topic:   eventTopic,
			Key:     []byte(piece[0].user),
			Value:   body,
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(contentType)}},
		}
		return persist(ctx, func() error { return k.ProduceSync(ctx, record).FirstErr() })
	}}
}

// rabbit is a queue, and a publisher that connects again when the broker was away.
type rabbit struct {
	t          *testing.T
	url, queue string
	lease      chan *amqp.Channel // one publishes at a time; nil is a channel that must be made
}

// newRabbit makes the queue of this test as QuickPass itself would make it.
func newRabbit(t *testing.T, url string) *rabbit {
	t.Helper()
	r := &rabbit{t: t, url: url, queue: "e2e." + t.Name(), lease: make(chan *amqp.Channel, 1)}
	r.with(func(channel *amqp.Channel) {
		for queue, arguments := range map[string]amqp.Table{r.queue: {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": r.dead()}, r.dead(): nil} {
			_, err := channel.QueueDeclare(queue, true, false, false, false, arguments)
			require.NoError(t, err)
		}
	})
	r.lease <- nil
	t.Cleanup(func() {
		if channel := <-r.lease; channel != nil {
			_ = channel.Close()
		}
	})
	return r
}

func (r *rabbit) dead() string { return r.queue + ".dead" }

func (r *rabbit) env() []string {
	return []string{"QUICKPASS_AMQP_URL=" + r.url, "QUICKPASS_AMQP_QUEUE=" + r.queue}
}

// with connects for one purpose.
func (r *rabbit) with(do func(*amqp.Channel)) {
	r.t.Helper()
	conn, err := amqp.Dial(r.url)
	require.NoError(r.t, err)
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	require.NoError(r.t, err)
	do(channel)
}

// publish returns when the broker has the message.
func (r *rabbit) publish(ctx context.Context, message amqp.Publishing) error {
	message.DeliveryMode = amqp.Persistent
	channel := <-r.lease
	defer func() { r.lease <- channel }()
	return persist(ctx, func() (err error) {
		if channel == nil {
			if channel, err = r.connect(); err != nil {
				return err
			}
		}
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", r.queue, true, false, message)
		if err == nil {
			var taken bool
			if taken, err = confirm.WaitContext(ctx); err == nil && !taken {
				err = errors.New("not taken")
			}
		}
		if err != nil {
			_ = channel.Close()
			channel = nil
		}
		return err
	})
}

func (r *rabbit) connect() (*amqp.Channel, error) {
	conn, err := amqp.Dial(r.url)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = conn.Close() }) // it may be broken by then
	channel, err := conn.Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	return channel, err
}

func (r *rabbit) door() door {
	return door{"RabbitMQ", 20, func(ctx context.Context, form int, piece []action) error {
		contentType, body, err := encode(form, piece)
		if err != nil {
			return err
		}
		return r.publish(ctx, amqp.Publishing{ContentType: contentType, Body: body})
	}}
}

// ingest starts `quickpass ingest`.
func (s *stack) ingest(name string, env ...string) *devstack.Process {
	s.t.Helper()
	return s.start(name, "quickpass", append(env, s.env...), devstack.ProcessOptions{}, "ingest")
}

// The same 10,000 events, some of them twice, in four different orders and in parallel, through each of the
// doors: all end in what a plain fold over them says. Then all of them once more, each set through another
// door: nothing changes.
func TestSameEventsThroughEveryDoor(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	begin := time.Now().UTC().Truncate(time.Second).AddDate(0, 0, -streamDays)
	secret, broker, queue := webhookSecret(), newKafka(t), newRabbit(t, testkit.AMQPURL(t))
	n := s.serve("serve", "QUICKPASS_EVENTS_WEBHOOK_SECRETS="+secret)
	s.ingest("ingest", append(queue.env(), broker.env())...)

	doors := []door{n.restDoor(), n.webhookDoor(secret), broker.door(), queue.door()}
	sets := []string{"a", "b", "c", "d"}
	rules := rules(begin)
	n.prepare(rules, begin, sets...)
	actions := stream(random, 10_000, begin)
	want := fold(rules, actions, begin)
	want.requireMixed(t, rules)

	poured := 0
	pour := func(shift int) {
		var group errgroup.Group
		for i, set := range sets {
			all := shuffled(random, actions, set)
			poured += len(all)
			own := mathrand.New(mathrand.NewPCG(uint64(i), uint64(shift)))
			group.Go(func() error { return doors[(i+shift)%len(doors)].pour(t.Context(), own, all) })
		}
		require.NoError(t, group.Wait())
		s.counted(poured)
		s.accepted(len(sets) * len(actions))
		s.settled()
	}
	pour(0)
	for i, set := range sets {
		require.Equal(t, want, s.tally().of(set), "through %s", doors[i].name)
	}
	before := s.tally()
	s.verify()

	pour(1)
	require.Equal(t, before, s.tally(), "everything was delivered again")
	for _, user := range []string{streamUser(0), streamUser(streamUsers - 1)} { // as the user sees it
		require.Equal(t, want.progress[user+" "+rules[0].name], []string{n.progress("a-"+user, rules[0].taskID)})
	}
	s.verify()
}

// progress is what a user is shown, of a sum too.
func (n *node) progress(userID string, taskID int64) string {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/users/"+userID+"/tasks", nil)
	var body struct {
		Tasks []struct {
			TaskID   int64 `json:"task_id"`
			Progress decimal.Decimal
		}
	}
	a.into(n.t, &body)
	for _, task := range body.Tasks {
		if task.TaskID == taskID {
			return task.Progress.String()
		}
	}
	return "the task is not shown"
}

// What nobody can read goes to the dead letters with its reason, and everything beside it counts.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	broker, queue := newKafka(t), newRabbit(t, testkit.AMQPURL(t))
	n := s.serve("serve", append(queue.env(), broker.env())...)
	taskID := n.publish(fiveBets(with("target", 8)))
	n.activate(buyer, taskID)
	good := func(id string) string {
		return fmt.Sprintf(`{"event_id":%q,"user_id":%q,"event_type":"bet_placed","timestamp":%q,"amount":100,"currency":"RUB"}`, id, buyer, time.Now().UTC().Format(time.RFC3339))
	}
	random := make([]byte, 300)
	_, _ = rand.Read(random)
	random[0] = 0xff // no text
	messages := func(door string) [][]byte {
		return [][]byte{
			[]byte(good(door + "-1")), random,
			[]byte("[" + good(door+"-2") + `,{"event_id":"` + door + `-bad","user_id":"` + buyer + `","event_type":"bet_placed","timestamp":"yesterday"},` + good(door+"-3") + "]"),
			[]byte(good(door + "-4")),
		}
	}
	for _, body := range messages("kafka") {
		require.NoError(t, broker.ProduceSync(t.Context(), &kgo.Record{Topic: eventTopic, Value: body}).FirstErr())
	}
	for i, body := range messages("rabbit") {
		require.NoError(t, queue.publish(t.Context(), amqp.Publishing{Body: body, MessageId: fmt.Sprint(i)}))
	}
	n.rewarded(buyer, taskID)

	letters := map[string][]byte{}
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker.cluster.ListenAddrs()...), kgo.ConsumeTopics(eventTopic+".dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(letters) < 2 {
		fetches := reader.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%d dead letters", len(letters))
		for _, record := range fetches.Records() {
			for _, header := range record.Headers {
				if header.Key == "quickpass-reason" {
					letters[string(header.Value)] = record.Value
				}
			}
		}
	}
	requirePoison(t, letters, random, "kafka-bad")

	letters = map[string][]byte{}
	queue.with(func(channel *amqp.Channel) {
		testkit.Eventually(t, "the dead letters", func(context.Context) error {
			letter, ok, err := channel.Get(queue.dead(), true)
			if ok {
				letters[fmt.Sprint(letter.Headers["quickpass-reason"])] = letter.Body
			}
			if err == nil && len(letters) < 2 {
				err = fmt.Errorf("%d dead letters", len(letters))
			}
			return err
		})
	})
	requirePoison(t, letters, random, "rabbit-bad")
	for _, id := range []string{"kafka-1", "kafka-2", "kafka-3", "kafka-4", "rabbit-1", "rabbit-2", "rabbit-3", "rabbit-4"} {
		require.Equal(t, []string{"counted"}, n.decision(id), id)
	}
	s.verify()
}

func requirePoison(t *testing.T, letters map[string][]byte, random []byte, bad string) {
	t.Helper()
	require.Len(t, letters, 2)
	require.Equal(t, random, letters["invalid_json"])
	require.Contains(t, string(letters["timestamp_invalid"]), bad)
	require.NotContains(t, string(letters["timestamp_invalid"]), "-2", "of several events only the bad one")
}
