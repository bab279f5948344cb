// What net/http serves; its router of Go 1.19 has no placeholders, but prefixes.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
)

var tenK, oneM = []byte(strings.Repeat("x", 10240)), []byte(strings.Repeat("x", 1048576))

func answer(w http.ResponseWriter, mediaType string, body []byte) {
	fields := w.Header()
	fields["Date"] = nil
	fields["Content-Type"] = []string{mediaType}
	fields["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.Write(body)
}

func main() {
	runtime.GOMAXPROCS(1)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "text/plain", []byte("Hello world!"))
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		body, _ := json.Marshal(map[string]string{"message": "Hello world!"})
		answer(w, "application/json", body)
	})
	mux.HandleFunc("/users/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "text/plain", []byte("Hello "+strings.TrimPrefix(r.URL.Path, "/users/")))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer(w, "application/octet-stream", body)
	})
	mux.HandleFunc("/later", func(w http.ResponseWriter, r *http.Request) {
		runtime.Gosched()
		answer(w, "text/plain", []byte("Hello world!"))
	})
	mux.HandleFunc("/10k", func(w http.ResponseWriter, r *http.Request) { answer(w, "text/plain", tenK) })
	mux.HandleFunc("/1m", func(w http.ResponseWriter, r *http.Request) { answer(w, "text/plain", oneM) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		received, _ := io.Copy(io.Discard, r.Body)
		answer(w, "text/plain", []byte(strconv.FormatInt(received, 10)))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
