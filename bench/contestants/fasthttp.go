// What fasthttp serves, by hand, since it has no router.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"os"
	"runtime"
	"strconv"

	"github.com/valyala/fasthttp"
)

var tenK, oneM = bytes.Repeat([]byte("x"), 10240), bytes.Repeat([]byte("x"), 1048576)

func handle(ctx *fasthttp.RequestCtx) {
	switch path := string(ctx.Path()); path {
	case "/":
		ctx.SetContentType("text/plain")
		ctx.SetBodyString("Hello world!")
	case "/json":
		body, _ := json.Marshal(map[string]string{"message": "Hello world!"})
		ctx.SetContentType("application/json")
		ctx.SetBody(body)
	case "/echo":
		ctx.SetContentType("application/octet-stream")
		ctx.SetBody(ctx.PostBody())
	case "/later":
		runtime.Gosched()
		ctx.SetContentType("text/plain")
		ctx.SetBodyString("Hello world!")
	case "/10k":
		ctx.SetContentType("text/plain")
		ctx.SetBody(tenK)
	case "/1m":
		ctx.SetContentType("text/plain")
		ctx.SetBody(oneM)
	case "/upload":
		received, _ := io.Copy(io.Discard, ctx.RequestBodyStream())
		ctx.SetContentType("text/plain")
		ctx.SetBodyString(strconv.FormatInt(received, 10))
	default:
		ctx.SetContentType("text/plain")
		ctx.SetBodyString("Hello " + path[len("/users/"):])
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	server := fasthttp.Server{Handler: handle, NoDefaultServerHeader: true, NoDefaultDate: true,
		StreamRequestBody: true, DisablePreParseMultipartForm: true}
	log.Fatal(server.ListenAndServe("127.0.0.1:" + os.Args[1]))
}
