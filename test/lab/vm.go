package lab

import (
	"context"
	"errors"
)

func (l *Lab) boot(context.Context) error { return errors.New("the virtual machine is not built yet") }
