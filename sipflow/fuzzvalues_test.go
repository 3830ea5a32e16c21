package sipflow
