"""fasthttp, the server of Go that is made for speed, on one thread."""

NAME = "Go fasthttp"
LANGUAGE = "Go"
NEEDS = {"go": "golang"}
BUILD = ("sh", "-c", """
    [ -d /usr/share/gocode/src/github.com/valyala/fasthttp ] || {
        echo the Debian package golang-github-valyala-fasthttp-dev is not installed >&2; exit 1; }
    GO111MODULE=off GOPATH=/usr/share/gocode exec go build -o "$1" "$2"
    """, "build", "{made}/server", "{here}/fasthttp.go")
COMMAND = ("{made}/server", "{port}")
VERSION = ("sh", "-c", "echo $(dpkg-query --show golang-github-valyala-fasthttp-dev), $(go version)")
