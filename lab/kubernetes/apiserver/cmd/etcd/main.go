// Command etcd is the store behind the lab's kube-apiserver, built in the same go as it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
