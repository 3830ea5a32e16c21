package cluster

// Room has a node keep at most so many bytes of what is over.
func (n *Node) Room(bytes int) { n.room.most = bytes }
