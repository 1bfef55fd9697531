// Command kubia stands in for the tutorial's image luksa/kubia: it answers every request on :8080 with the name of its pod,
// and says in its log who asked.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Process 1 is not ended by a signal that it does not ask for.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	name, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("Received request from", r.RemoteAddr)
		fmt.Fprintf(w, "You've hit %s\n", name)
	})
	fmt.Println("Kubia server starting...")
	go func() { log.Fatal(http.ListenAndServe(":8080", nil)) }()
	<-stop
}
