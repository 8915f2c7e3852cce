// Goroutines with timers, a collector that is kept busy, children, signals, and net/http that answers with numbers.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

var number int64

func wrong(what ...interface{}) {
	file, _ := os.OpenFile("/data/wrong", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0644)
	fmt.Fprintln(file, what...)
	file.Close()
}

func tick(ticks chan int) {
	for range time.NewTicker(100 * time.Millisecond).C {
		select {
		case ticks <- 1:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func allocate() {
	values := map[int][]byte{}
	for i := 0; ; i++ {
		values[i%1000] = bytes.Repeat([]byte{byte(i)}, 10000)
		if value := values[i*7%1000]; value != nil && value[0] != value[9999] {
			wrong("torn")
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

func spawn() {
	for {
		output, err := exec.Command("/bin/sh", "-c", "sleep 0.02; echo hello").Output()
		if err != nil || string(output) != "hello\n" {
			wrong(err, string(output))
		}
	}
}

func main() {
	ticks, signals := make(chan int), make(chan os.Signal, 10)
	for i := 0; i < 2000; i++ {
		go tick(ticks)
	}
	go func() {
		for range ticks {
		}
	}()
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGTERM)
	go func() { wrong(<-signals) }()
	go allocate()
	go spawn()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, atomic.AddInt64(&number, 1)) })
	wrong(http.ListenAndServe("127.0.0.1:8080", nil))
}
